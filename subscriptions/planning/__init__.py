"""The plan: a pure function from the desired and the observed state to the steps between them."""
