"""From images to what is said of each: predicted, explained and judged, for a job of images or a part of a data set."""
