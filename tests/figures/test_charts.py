import json

import pandas as pd

from senet_lab.figures.charts import Words
from senet_lab.figures.export import compile_chart
from senet_lab.figures.kinds import draw_heatmap


def test_a_heatmap_is_darker_where_there_is_more_and_has_its_scale_beside_it() -> None:
    table = pd.DataFrame({"to": ["a", "b"], "from": ["a", "a"], "weight": [0.1, 0.3]})
    chart = draw_heatmap(table, "to", "from", "weight", Words("Title", "subtitle", "To", "From"))
    drawing = compile_chart(chart, [], table)

    def models(node: object, name: str) -> list[dict]:
        """Every model of that name in a plot as bokeh writes it."""
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
        own = [node] if isinstance(node, dict) and node.get("name") == name else []
        return own + [model for child in children for model in models(child, name)]

    plot = json.loads(drawing.item)
    assert len(models(plot, "ColorBar")) == 1
    mapper = models(plot, "LinearColorMapper")[0]["attributes"]
    assert (mapper["low"], mapper["high"]) == (0.1, 0.3)
    low, high = (sum(bytes.fromhex(mapper["palette"][end][1:7])) for end in (0, -1))
    assert low > high
