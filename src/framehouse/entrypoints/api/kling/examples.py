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
