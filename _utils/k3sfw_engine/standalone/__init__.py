"""Programs that run without the engine, under the Python that runs firewalld (3.6 or newer).

They import nothing of the engine: they have to work after it is gone, or under an interpreter that
does not have its libraries.

undo/      undoes a transaction whose run died, froze or failed
trial      starts a second firewalld in isolation, to see whether a configuration loads
"""
