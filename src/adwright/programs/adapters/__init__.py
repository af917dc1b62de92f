"""What lets programs of others run their calls here: chats, an engine of DSPy, a node of LangGraph.

Neither DSPy nor LangGraph is imported before something of it is asked for.
"""
