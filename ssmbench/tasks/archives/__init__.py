"""Archives of time series for classification, from a folder or from an installed package."""
