"""Diffusion without its networks: schedules of noise, and samplers."""
