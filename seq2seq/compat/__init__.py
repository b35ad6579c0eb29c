"""What this application needs of other packages and they keep private: a module a package, a function a need.

Nowhere else is a private name of another package used. ``tests/compat`` runs each function against the installed
versions and names what an upgrade has changed.
"""
