"""Which features of the final layer decide a class, fitted over a data set, and classifiers made of them."""
