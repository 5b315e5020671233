"""Models without a net: rows of numbers, of a table or of a picture's features, and scikit-learn's estimators."""
