"""What TensorBoard's own reader finds in a folder of event files, as JSON on stdout.

    python read_tensorboard.py FOLDER
"""

import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EVERYTHING = {"scalars": 0, "histograms": 0, "tensors": 0}

events = EventAccumulator(sys.argv[1], size_guidance=EVERYTHING)
events.Reload()
tags = events.Tags()
json.dump(
    {
        "scalars": {tag: [[p.step, p.value] for p in events.Scalars(tag)] for tag in tags["scalars"]},
        "histograms": {
            tag: [[p.step, p.histogram_value.num] for p in events.Histograms(tag)] for tag in tags["histograms"]
        },
        "texts": {
            tag: events.Tensors(tag)[-1].tensor_proto.string_val[0].decode()
            for tag in tags["tensors"]
            if events.SummaryMetadata(tag).plugin_data.plugin_name == "text"
        },
    },
    sys.stdout,
)
