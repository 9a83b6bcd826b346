"""What people look at: the page of an analysis and the files beside it."""
