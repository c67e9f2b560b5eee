"""The sandbox: simulated providers behind one control API. Independent of Django."""
