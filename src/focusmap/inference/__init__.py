"""A trained model at work: predicting, explaining."""
