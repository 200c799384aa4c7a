"""The hands: what a worker does with images, models and jobs."""
