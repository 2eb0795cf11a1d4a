"""What strangers supply, tried with damaged and hostile bytes: see `targets`."""
