"""Programs of semantic variables: language-model calls that form a graph, run as one."""
