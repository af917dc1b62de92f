"""Reports: measures with intervals, comparisons of models, charts and the HTML page."""
