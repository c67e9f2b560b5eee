"""The contract between plug-ins and the core, and shared code for plug-ins. Independent of Django."""
