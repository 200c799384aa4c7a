"""What every layer contributes: the estimators of layer Shapley, each by its name on the wire, and what they share."""
