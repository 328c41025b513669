"""The command ``hermes``: `app` and one small module per verb.

The only package that prints, exits or reads the environment. Knows no formula and no grammar.
"""
