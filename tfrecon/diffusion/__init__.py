"""What diffusion models are made of beside their network: schedules of noise, and samplers."""
