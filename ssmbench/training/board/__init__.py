"""What TensorBoard shows of a run: layout, text, figures, the outcome and its place in a table."""
