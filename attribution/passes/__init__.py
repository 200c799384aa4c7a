"""Forward and backward passes: of chunks of points, along a direction, from a layer on."""
