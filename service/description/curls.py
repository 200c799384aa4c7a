"""One line of curl for every route. A test runs them all, in this order, against a running service."""

ADDRESS = "http://127.0.0.1:8000"
"""Where the service listens unless it is told otherwise."""

VARIABLES = {
    "JOB": "the `id` of a job, from the answer to its submission",
    "SHA256": "the digest of a file: `sha256` of an artefact in a result, or what `sha256sum FILE` prints",
}
"""What the lines take from the shell."""

FIRST = f"""\
curl {ADDRESS}/v1/jobs -H 'Prefer: wait=30' -o job.json \\
  -F 'request={{"model": "digits", "inputs": [{{"part": "image"}}],
      "explanation": {{"method": "integrated_gradients"}}}};type=application/json' \\
  -F image=@image.png
JOB=$(jq -r .id job.json)
curl -N "{ADDRESS}/v1/jobs/$JOB/events"  # ends with the job, however long that takes
curl "{ADDRESS}/v1/jobs/$JOB/result" -o result.json
SHA256=$(jq -r '.images[0].artifacts[] | select(.quantity == "heatmap").sha256' \\
  result.json)
curl "{ADDRESS}/v1/artifacts/$SHA256" -o heatmap.png"""
"""From an image to its heatmap, with a classifier that is registered."""

_JSON = ";type=application/json"

CURLS: dict[tuple[str, str], str] = {
    ("post", "/v1/models"): (
        f"curl {ADDRESS}/v1/models \\\n"
        '  -F \'request={"name": "digits", "architecture": "mnist_cnn", "weights": {"part": "weights"},\n'
        f'      "preprocessing": {{"color": "grey", "size": [28, 28]}}}}{_JSON}\' \\\n'
        "  -F weights=@weights.safetensors"
    ),
    ("get", "/v1/models"): f"curl {ADDRESS}/v1/models",
    ("get", "/v1/models/{name}/versions/{version}"): f"curl {ADDRESS}/v1/models/digits/versions/1",
    ("get", "/v1/models/{name}/versions/{version}/report"): f"curl {ADDRESS}/v1/models/digits/versions/1/report",
    ("get", "/v1/models/{name}"): f"curl {ADDRESS}/v1/models/digits",
    ("get", "/v1/models/{name}/versions"): f"curl {ADDRESS}/v1/models/digits/versions",
    ("post", "/v1/images"): f"curl {ADDRESS}/v1/images -H 'Content-Type: image/png' --data-binary @image.png",
    ("post", "/v1/jobs"): (
        f"curl {ADDRESS}/v1/jobs -H 'Prefer: wait=30' \\\n"
        '  -F \'request={"model": "digits", "inputs": [{"part": "image"}],\n'
        f'      "explanation": {{"method": "integrated_gradients"}}}}{_JSON}\' \\\n'
        "  -F image=@image.png"
    ),
    ("get", "/v1/jobs"): f"curl '{ADDRESS}/v1/jobs?status=succeeded&limit=10'",
    ("get", "/v1/jobs/{job_id}"): f'curl "{ADDRESS}/v1/jobs/$JOB"',
    ("get", "/v1/jobs/{job_id}/events"): f'curl -N "{ADDRESS}/v1/jobs/$JOB/events"',
    ("get", "/v1/jobs/{job_id}/result"): f'curl "{ADDRESS}/v1/jobs/$JOB/result" -o result.json',
    ("get", "/v1/jobs/{job_id}/artifacts.zip"): f'curl "{ADDRESS}/v1/jobs/$JOB/artifacts.zip" -o explanation.zip',
    ("get", "/v1/artifacts/{sha256}"): f'curl "{ADDRESS}/v1/artifacts/$SHA256" -o heatmap.png',
    ("post", "/v1/jobs/{job_id}/cancel"): f'curl -X POST "{ADDRESS}/v1/jobs/$JOB/cancel"',
    ("delete", "/v1/jobs/{job_id}"): f'curl -X DELETE "{ADDRESS}/v1/jobs/$JOB"',
    ("post", "/v1/datasets"): (
        f"curl {ADDRESS}/v1/datasets \\\n"
        f'  -F \'request={{"name": "flowers", "source": {{"part": "archive"}}}}{_JSON}\' \\\n'
        "  -F archive=@flowers.zip"
    ),
    ("get", "/v1/datasets"): f"curl {ADDRESS}/v1/datasets",
    ("get", "/v1/datasets/{name}/versions/{version}"): f"curl {ADDRESS}/v1/datasets/flowers/versions/1",
    ("get", "/v1/datasets/{name}"): f"curl {ADDRESS}/v1/datasets/flowers",
    ("delete", "/v1/datasets/{name}/versions/{version}"): f"curl -X DELETE {ADDRESS}/v1/datasets/flowers/versions/1",
    ("delete", "/v1/models/{name}/versions/{version}"): f"curl -X DELETE {ADDRESS}/v1/models/digits/versions/1",
    ("post", "/v1/pieces"): (
        f"curl {ADDRESS}/v1/pieces -H 'Content-Type: application/octet-stream' --data-binary @flowers.zip"
    ),
    ("head", "/v1/pieces/{sha256}"): f'curl -I "{ADDRESS}/v1/pieces/$SHA256"',
    ("get", "/v1/methods"): f"curl {ADDRESS}/v1/methods",
    ("get", "/healthz"): f"curl {ADDRESS}/healthz",
    ("get", "/readyz"): f"curl {ADDRESS}/readyz",
    ("get", "/v1/version"): f"curl {ADDRESS}/v1/version",
}
"""By verb and path."""
