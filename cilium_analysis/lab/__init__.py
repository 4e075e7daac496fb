"""At home in JupyterLab: where notebooks lie, magics, displays, the explorer."""
