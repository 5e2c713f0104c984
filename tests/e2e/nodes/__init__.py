"""Several nodes: the chart's pods as processes here, each with a network, folders and process ids of its own."""
