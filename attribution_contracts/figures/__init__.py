"""What results say of images in numbers: one file a method or figure, and what it adds to an image's result."""
