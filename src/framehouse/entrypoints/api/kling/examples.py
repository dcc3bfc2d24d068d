"""The example request bodies in the OpenAPI document."""

CREATE_TASK = {
    "series": {
        "summary": "Three images that belong together",
        "value": {
            "model_name": "kling-v3-omni",
            "prompt": "Create a three-frame product storyboard",
            "result_type": "series",
        },
    },
    "reference": {
        "summary": "One image from a reference",
        "value": {
            "model_name": "kling-v3-omni",
            "prompt": "The bag of <<<image_1>>> on a beach at sunset",
            "image_list": [{"image": "https://example.com/bag.png"}],
            "resolution": "2k",
            "aspect_ratio": "3:2",
            "watermark_info": {"enabled": True},
        },
    },
    "element": {
        "summary": "One image with a preset element",
        "value": {
            "model_name": "kling-v3-omni",
            "prompt": "<<<element_1>>> waters the flowers on a balcony",
            "element_list": [{"element_id": 101}],
        },
    },
}
CREATE_GENERATION = {
    "text": {
        "summary": "Two images from a prompt",
        "value": {
            "model_name": "kling-v3",
            "prompt": "A red bag on a beach at sunset",
            "negative_prompt": "people",
            "n": 2,
        },
    },
    "subject": {
        "summary": "The subject of an image, moved to a new place",
        "value": {
            "model_name": "kling-v3",
            "prompt": "The bag on a beach at sunset",
            "image": "https://example.com/bag.png",
            "image_reference": "subject",
            "image_fidelity": 0.7,
        },
    },
}
CREATE_COMBINATION = {
    "style": {
        "summary": "Two subjects in a scene",
        "value": {
            "prompt": "The bag stands on the chair",
            "subject_image_list": [
                {"subject_image": "https://example.com/bag.png"},
                {"subject_image": "https://example.com/chair.png"},
            ],
            "scene_image": "https://example.com/beach.png",
        },
    }
}
CREATE_EXPANSION = {
    "wide": {
        "summary": "An image expanded to twice its width",
        "value": {
            "image": "https://example.com/beach.png",
            "left_expansion_ratio": 0.5,
            "right_expansion_ratio": 0.5,
        },
    }
}
CREATE_TRY_ON = {
    "coat": {
        "summary": "A person in a coat",
        "value": {
            "model_name": "kolors-virtual-try-on-v1",
            "human_image": "https://example.com/person.png",
            "cloth_image": "https://example.com/coat.png",
        },
    }
}
CREATE_ELEMENT = {
    "image_refer": {
        "summary": "An element with two images",
        "value": {
            "element_name": "Red bag",
            "element_description": "A red leather bag with a brass clasp",
            "reference_type": "image_refer",
            "element_image_list": {
                "frontal_image": "https://example.com/bag.png",
                "refer_images": [{"image_url": "https://example.com/bag-side.png"}],
            },
            "tag_list": [{"tag_id": "o_104"}],
        },
    }
}
DELETE_ELEMENT = {"own": {"summary": "One of the account's own elements", "value": {"element_id": 1099511627776}}}
LIST_CHARGES = {"newest": {"summary": "The newest charges", "value": {"limit": 100}}}
VERIFY_IMAGE = {
    "url": {"summary": "An image at a URL", "value": {"image": "https://example.com/fox.png"}},
    "base64": {"summary": "An image in base64", "value": {"image": "iVBORw0KGgo…"}},
}
CREATE_UPLOAD = {
    "png": {"summary": "A PNG file", "value": {"file_name": "bag.png", "content_type": "image/png"}},
}
