"""The attached dispatcher: the rest of the event architecture. The daemon knows nothing of it.

Nothing is imported here: the catalog is for the commands too, and its libraries are an extra.
"""
