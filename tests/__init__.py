"""The tests, one folder for each folder of the package. What they share is in `helpers`."""
