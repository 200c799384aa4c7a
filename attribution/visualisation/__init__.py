"""What excites a network most, and what it keeps of an image: pictures made by gradients of the pixels."""
