"""What each problem means and what to do about it: the text of the pages that `type` points at."""

from attribution_contracts.problems import TITLES, ErrorCode
from attribution_contracts.warnings import WARNING_TITLES, WarningCode
from service.http.problems import STATUS

EXPLANATIONS: dict[ErrorCode, str] = {
    ErrorCode.INVALID_REQUEST: (
        "Fields of the body, the query or a header are wrong. `errors` names each by a JSON pointer with what was "
        "given and what was expected (a pointer that begins with /query or /header is outside of the body). "
        "Correct them and send the request again; nothing was stored."
    ),
    ErrorCode.INVALID_JSON: (
        "The body, or its part `request`, is no JSON object in UTF-8: syntax, nesting too deep, half of a "
        "surrogate pair, or no body at all."
    ),
    ErrorCode.INVALID_IMAGE: (
        "A file is no usable image: not JPEG, PNG or WebP, empty, broken, animated, or with too many pixels. Over "
        "HTTP nothing was stored; inside a result it concerns that image alone and the others are explained."
    ),
    ErrorCode.INVALID_TARGET: (
        "A chosen class does not exist in the model, or is chosen twice. The report of the model says how many "
        "classes there are, its version says their names."
    ),
    ErrorCode.INVALID_OPTION: (
        "An option of the method, or of an architecture, has a value that cannot be used; the detail says which "
        "values can."
    ),
    ErrorCode.INVALID_MODEL: (
        "The model was refused, or can no longer be loaded: its weights do not fit its architecture, hold numbers "
        "that are not finite, or are a file of another kind. Every mismatch is named. Register a repaired one."
    ),
    ErrorCode.INVALID_DATASET: (
        "The data set was refused, or can no longer be read: its source is no archive, is broken, over a limit, or "
        "holds no usable image. Single wrong files never refuse a data set: its report names them."
    ),
    ErrorCode.BODY_TOO_LARGE: (
        "The body is larger than the operator allows. Upload images one by one to `/v1/images` and name them by "
        "digest, or split the job."
    ),
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: (
        "The Content-Type (or a Content-Encoding) is not one that the route reads; the detail lists those that are."
    ),
    ErrorCode.NOT_FOUND: ("There is no such route, job, model, data set or artefact, or it is not yours."),
    ErrorCode.UNKNOWN_MODEL: (
        "The request names a model that is not registered. The detail says which names are close; `/v1/models` "
        "lists all."
    ),
    ErrorCode.MODEL_NOT_READY: (
        "The model is still being checked by a worker (try again after Retry-After), or was refused (its version "
        "says why)."
    ),
    ErrorCode.UNKNOWN_DATASET: (
        "The request names a data set that is not registered. The detail says which names are close; `/v1/datasets` "
        "lists all."
    ),
    ErrorCode.DATASET_NOT_READY: (
        "The data set is still being read by a worker (try again soon), or was refused (its version says why)."
    ),
    ErrorCode.METHOD_NOT_APPLICABLE: (
        "The method cannot explain this model; the detail and the model's report say why."
    ),
    ErrorCode.METHOD_DISABLED: (
        "The operator of this service has disabled the method, or one whose rules it would follow "
        "(`ATTRIBUTION_DISABLED_METHODS`). `GET /v1/methods` lists what there is."
    ),
    ErrorCode.UNKNOWN_IMAGE: ("The request names an image by a digest that was never uploaded. Upload it first."),
    ErrorCode.METHOD_NOT_ALLOWED: (
        "The route exists and does not take this HTTP method; `Allow` lists those that it takes."
    ),
    ErrorCode.CONFLICT: (
        "What exists does not allow this: a job that has not ended cannot be deleted, nor a model or data set that "
        "such a job uses; a version of a model or data set cannot be registered again with another content, and that "
        "of a model not even after it was deleted."
    ),
    ErrorCode.IDEMPOTENCY_MISMATCH: (
        "The Idempotency-Key belongs to an earlier submission with another body. Use a new key for a new job; "
        "send the same body to find the earlier one."
    ),
    ErrorCode.RESULT_NOT_READY: ("The job has not ended. Ask again after Retry-After, or follow its events."),
    ErrorCode.JOB_ENDED_WITHOUT_RESULT: (
        "The job failed, was cancelled or expired, so there never will be a result. The job itself says why."
    ),
    ErrorCode.RANGE_NOT_SATISFIABLE: ("The Range lies outside of the artefact; `Content-Range` says how long it is."),
    ErrorCode.LEDGER_UNAVAILABLE: (
        "The database is locked, full, read-only or away. Nothing was changed; send the same request again after "
        "Retry-After."
    ),
    ErrorCode.STORE_UNAVAILABLE: (
        "The artefact store is full, read-only or away. No job was made; send the same request again after Retry- "
        "After. Of a job that failed so, the detail names a file that the worker's store does not have, and what to "
        "do."
    ),
    ErrorCode.ARTIFACT_MISSING: (
        "The ledger knows a file that the gateway's artefact store does not have. To ask again is no use. The operator "
        "sees whether gateways and workers have the same `ATTRIBUTION_ARTIFACT_URL` (or `ATTRIBUTION_DATA_DIR`; "
        "`/readyz` and `attribution doctor` tell), or restores the file; else submit the job again, with `Cache-"
        "Control: no-cache`."
    ),
    ErrorCode.NO_IMAGE_EXPLAINED: ("Each image of the job failed; the detail says how the first did."),
    ErrorCode.OUT_OF_MEMORY: (
        "The worker has too little memory even for the smallest pieces of work. Use a smaller image or model, or "
        "a larger machine."
    ),
    ErrorCode.ATTEMPTS_EXHAUSTED: (
        "Every worker that started the job was lost while it ran it: killed, out of memory, or stuck. The job is "
        "not tried again; a smaller one may pass."
    ),
    ErrorCode.DEADLINE_PASSED: ("No worker was free before `deadline_s` had passed, so the job was not started."),
    ErrorCode.CHILDREN_FAILED: ("The job was split, and some of its parts failed."),
    ErrorCode.TIME_LIMIT: (
        "The job ran longer than the operator allows and was stopped. Ask for fewer images, targets or steps."
    ),
    ErrorCode.SELF_TEST_FAILURE: ("A `self_test` job was told to fail, and did."),
    ErrorCode.INTERNAL: (
        "A failure of ours. It is in the service's log under the X-Request-ID of the response, or the id of the job."
    ),
}


WARNING_TEXTS: dict[WarningCode, str] = {
    WarningCode.COMPLETENESS_LARGE: (
        "The values of the map miss more than 5 % of what they should add up to: the difference of the output between "
        "baseline and image, or the classes' variation where the attributions of multi-class importance are made to "
        "add up (by integrated gradients or DeepLIFT; input x gradient is not, and is not warned of). The quadrature "
        "has too few points for this network, or the estimator is not complete. Ask for a `tolerance`, or for more "
        "steps."
    ),
    WarningCode.TOLERANCE_MISSED: (
        "A `tolerance`, asked for or by default, was not reached with the points that `max_steps` (or the evaluations "
        "that `n_samples`) allows; the figures say by how much. Raise the limit, or ask for less."
    ),
    WarningCode.BASELINE_OF_CLASS: (
        "The network gives the baseline the explained class too, with an output close to the image's: a black picture "
        "can be a confident 'angry'. The map then explains a small remainder, and errors that are shares of it look "
        "large. More points do not help; another baseline does. Of occlusion curves: a picture of nothing but what "
        "replaces pixels is of the class, so that they judge no map; another `baseline` of theirs does."
    ),
    WarningCode.NO_BETTER_THAN_RANDOM: (
        "With occlusion curves asked for: the area under the curve as pixels come back in the order of the map, less "
        "the area as they go, is within what 19 of 20 random orders reach. Do not read places off such a map. A map of "
        "scattered values escapes the warning in 1 of 20 images, a coarse one by chance more often, and a sound one "
        "meets it in some: judge by the share of a set."
    ),
    WarningCode.CURVES_UNINFORMATIVE: (
        "With occlusion curves asked for: the probability of the class moves by less than 0.1 whichever pixels are "
        "replaced, in the order of the map or at random. Nothing can be told of the map from that, good or bad. "
        "Replace pixels by something that the network takes for another class, or explain a class that it sees."
    ),
    WarningCode.LAYERS_LEFT_OUT: (
        "Values or gradients of some layers are infinite (padding with -inf does that), so that they have no scores. "
        "They are named; chosen by name they are an error."
    ),
    WarningCode.RELEVANCE_ABSORBED: (
        "More than half of the relevance that was handed back stays in biases and the stabiliser of the rules, so that "
        "the map adds up to something else than the output: see `conservation`. It still says where; how much, "
        "`deeplift` and `integrated_gradients` say."
    ),
    WarningCode.MAP_SHOWS_LITTLE: (
        "A map of a layer shows what has a place in the image. Of a transformer's layer that is its patches; a class "
        "token and its like have none, and here they hold more than half of what the layer says: see `placed` and "
        "`without_place` of `layers`. The deeper the layer, the more of it is gathered there. Read places off earlier "
        "layers, or off the image itself."
    ),
    WarningCode.MOSTLY_NOISE: (
        "The map rests on random draws, and its values are off by more than half of their size: see `sampling`. "
        "Another seed would show other places. The error falls with the root of the draws: four times as many halve it."
    ),
    WarningCode.FAILS_SANITY_CHECKS: (
        "Whatever the image: `guided_backprop` and `deconvolution` draw much the same map when the weights of the "
        "network are random (Adebayo et al. 2018, Nie et al. 2018). They are there for comparison with published "
        "figures; for a decision use `integrated_gradients`, `deeplift` or `layer_shapley`."
    ),
    WarningCode.CLASS_NOT_FITTED: (
        "`decomposition` explains a class of which the data set of its fit had no images: there are no features to "
        "show, the map `influential` is empty, and `others` is all there is. Fit on images of the class too."
    ),
    WarningCode.MODEL_NOTED: (
        "What the check of the model measured and let pass, such as a mean meant for 0..255, or outputs that are "
        "probabilities already: see `checks` in the model's report."
    ),
}


def page() -> str:
    """The page about problems in the documentation."""
    lines = [
        "# Problems",
        "",
        "Every error is a problem in the form of RFC 9457 (`application/problem+json`): `type`, `title`, `status`,",
        "`detail`, `instance`, and beside them `code`, `errors` and `retryable`. `type` is a path of the service that",
        "shows the text below. This page is written by `python -m service.openapi_file`.",
    ]
    for code, text in EXPLANATIONS.items():
        status = STATUS.get(code)
        lines += [
            "",
            f"## {code.value}",
            "",
            f"{TITLES[code]} ({status or 'of a job, a model or an image'}).",
            "",
            text,
        ]
    lines += [
        "",
        "# Warnings",
        "",
        "Each image of a result has `warnings`: `code`, `target`, `detail` and `advice`. They speak of maps that are",
        "there, and that are to be trusted less than they look.",
    ]
    for warning, text in WARNING_TEXTS.items():
        lines += ["", f"## {warning.value}", "", f"{WARNING_TITLES[warning]}.", "", text]
    return "\n".join(lines) + "\n"
