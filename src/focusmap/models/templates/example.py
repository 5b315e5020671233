"""Ask the exported model beside this file: python example.py IMAGE. Needs numpy, pillow and the engine, no focusmap."""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

here = Path(__file__).parent
facts = json.loads((here / "export.json").read_text())
image = np.asarray(Image.open(sys.argv[1]).convert("RGB"))[None]
if facts["graph"] == "onnx":
    import onnxruntime

    values = onnxruntime.InferenceSession(here / facts["file"]).run(None, {"images": image})
else:
    import openvino

    model = openvino.Core().compile_model(here / facts["file"], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    values = list(model(image).values())
found = dict(zip(facts["outputs"], values, strict=True))
aspects = zip(facts["ood"]["aspects"], found.get("unlike", [[]])[0], strict=True)
far = [name for name, distance in aspects if distance > facts["ood"]["limit"]]
out = "unlike the images of train in " + " and in ".join(far) if far else ""
if not np.ptp(image, axis=(1, 2)).any():
    out = "shows nothing (every pixel has the same value)"
if out:
    print("out of distribution:", out)
for label, probability in zip(facts["labels"], found["probabilities"][0], strict=True):
    why = "out of distribution" if out else facts["not_shown"].get(label)
    said = f"no answer: {why}" if why else f"threshold {facts['thresholds'].get(label)}"
    print(label, f"{probability:.4f}", said)
