"""The analysis as tools of the Model Context Protocol, for assistants and other programs.

Every number comes from the engine that reports use. Nothing here asks a model anything.
"""
