"""Seconds that simultaneous users wait for an answer over HTTP: python benchmarks/serve.py RUN IMAGE [--engine torch].

Each user sends one image after another and waits for its answer. None may be refused.
"""

import argparse
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np


def ask(address: str, content: bytes, n_requests: int, waited: list[float], refused: list[int]) -> None:
    """Send an image so often, and note how long each answer took."""
    with httpx.Client(timeout=300) as client:
        for _ in range(n_requests):
            started = time.perf_counter()
            answer = client.post(f"{address}/api/predict", files={"files": ("image.png", content)})
            waited.append(time.perf_counter() - started)
            if answer.status_code != 200 or "targets" not in answer.json()["answers"][0]:
                refused.append(answer.status_code)


def main() -> None:
    """Serve a run, let users ask, and print what they waited."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--users", type=int, default=32)
    parser.add_argument("--requests", type=int, default=8)
    parser.add_argument("--engine", default="auto")
    told = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "focusmap", "serve", str(told.run), "--port", str(port), "--engine", told.engine]
    server = subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    address, started = f"http://127.0.0.1:{port}", time.perf_counter()
    while True:
        try:
            httpx.get(f"{address}/health")
            break
        except httpx.TransportError:
            time.sleep(0.1)
    print(f"ready after        {time.perf_counter() - started:.1f} s")
    waited: list[float] = []
    refused: list[int] = []
    content, begun = told.image.read_bytes(), time.perf_counter()
    users = [
        threading.Thread(target=ask, args=(address, content, told.requests, waited, refused)) for _ in range(told.users)
    ]
    for user in users:
        user.start()
    for user in users:
        user.join()
    seconds, counts = time.perf_counter() - begun, httpx.get(f"{address}/metrics").text
    server.terminate()
    server.wait()
    batches = next(line.split()[1] for line in counts.splitlines() if line.startswith("focusmap_batches_total"))
    print(f"users, requests    {told.users}, {len(waited)}; refused {len(refused)}; batches {batches}")
    print(f"p50, p99           {np.percentile(waited, 50):.3f} s, {np.percentile(waited, 99):.3f} s")
    print(f"images per second  {len(waited) / seconds:.1f}")


if __name__ == "__main__":
    main()
