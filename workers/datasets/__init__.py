"""From files as people have them to a data set's index, and from that to batches."""
