"""The demo: the real parts of Scopeway, started on loopback for a minute or until `make down`.

Owns the processes, their files and the story that `make demo` tells; `demo.run` is its
entry. It must not know how routes, clusters or streams are made: it uses the command line
and the registry as an operator does.
"""
