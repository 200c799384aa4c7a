"""Examples in the API description."""

JOB_REQUESTS: dict[str, object] = {
    "integrated_gradients": {
        "summary": "Why the predicted class, for an uploaded image",
        "value": {
            "model": "digits",
            "inputs": [{"image": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}],
            "explanation": {"method": "integrated_gradients"},
        },
    },
    "chosen_classes": {
        "summary": "Two classes at a chosen accuracy, against a white baseline",
        "value": {
            "model": "digits@1",
            "inputs": [{"image": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "custom_id": "a"}],
            "explanation": {
                "method": "integrated_gradients",
                "target": {"classes": [3, "eight"]},
                "baselines": [{"kind": "white"}],
                "tolerance": 0.01,
            },
            "labels": {"team": "vision"},
        },
    },
    "multiclass_importance": {
        "summary": "Which pixels tell all classes apart, and how fast the prediction falls without them",
        "value": {
            "model": "digits",
            "inputs": [{"image": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}],
            "explanation": {"method": "multiclass_importance", "pixels": ["most"]},
            "quality": {"occlusion": {"n_steps": 10}},
        },
    },
    "side_by_side": {
        "summary": "Two models and two attributions on the same image",
        "value": {
            "models": ["digits@1", "digits@2"],
            "inputs": [{"image": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}],
            "explanations": [
                {"method": "multiclass_importance"},
                {"method": "multiclass_importance", "attribution": "deeplift"},
            ],
        },
    },
    "self_test": {
        "summary": "A job that needs no model",
        "value": {"explanation": {"method": "self_test", "action": "nothing"}},
    },
}

MODEL_SPECS: dict[str, object] = {
    "torchvision": {
        "summary": "torchvision's own weights",
        "value": {
            "name": "resnet18",
            "architecture": "torchvision:resnet18",
            "weights": {"torchvision": "IMAGENET1K_V1"},
            "preprocessing": {
                "size": [224, 224],
                "resize": 256,
                "mean": [0.485, 0.456, 0.406],
                "std": [0.229, 0.224, 0.225],
            },
        },
    },
    "uploaded": {
        "summary": "Weights in the part `weights` of a multipart body",
        "value": {
            "name": "digits",
            "architecture": "mnist_cnn",
            "weights": {"part": "weights"},
            "preprocessing": {"color": "grey", "size": [28, 28]},
            "labels": ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],
        },
    },
}

DATASET_SPECS: dict[str, object] = {
    "uploaded": {
        "summary": "An archive in the part `archive` of a multipart body",
        "value": {"name": "flowers", "source": {"part": "archive"}},
    },
    "pieces": {
        "summary": "An archive that was sent in pieces, classes in the order of the model",
        "value": {
            "name": "flowers",
            "version": "2",
            "source": {"pieces": ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]},
            "labels": ["daisy", "rose", "tulip"],
        },
    },
    "location": {
        "summary": "A folder that workers read themselves",
        "value": {"name": "flowers", "version": "3", "source": {"location": "s3://bucket/flowers"}},
    },
}
