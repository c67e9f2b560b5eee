"""The sandbox: simulated providers behind one control API. No Django here."""
