"""What everything stands on: errors, the image contract, configuration, files."""
