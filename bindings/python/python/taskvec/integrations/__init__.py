"""taskvec behind the interfaces of other libraries. Each module needs the library that it is named after.

In all of them queries and documents have tasks of their own (``retrieval-query`` and ``retrieval-document`` unless said), and
what is not one of their arguments goes to :class:`taskvec.Embedder`.
"""
