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

TASK_ID = "019a3c5e-7c1a-7b1e-9d55-3f2f6f0c9a11"
_IMAGE_URL = f"http://127.0.0.1:8000/images/{TASK_ID}/0.png?expires=1797984000&signature=9f2c"
_CREATED_AT, _UPDATED_AT = 1795392000000, 1795392012000
_NO_BALANCE = {"quota": "0", "list_price": "0"}
ACCEPTED = {
    "task_id": TASK_ID,
    "task_info": {},
    "task_status": "submitted",
    "created_at": _CREATED_AT,
    "updated_at": _CREATED_AT,
}
_STORED_TASK = ACCEPTED | {
    "task_status": "succeed",
    "updated_at": _UPDATED_AT,
    "task_status_msg": "",
    "watermark_info": {"enabled": False},
    "final_unit_deduction": "8",
    "final_balance_deduction": _NO_BALANCE,
}
_IMAGES = [{"index": 0, "url": _IMAGE_URL}]
OMNI_IMAGE = _STORED_TASK | {"task_result": {"result_type": "single", "images": _IMAGES, "series_images": []}}
GENERATION = _STORED_TASK | {"task_result": {"images": _IMAGES}}
ANY_TASK = OMNI_IMAGE | {"kind": "omni-image"}
DELIVERY = {
    "id": "019a3c5e-9f00-7c41-8a0e-0d8f1d6c2b34",
    "task_status": "succeed",
    "url": "https://example.com/callbacks",
    "state": "delivered",
    "tries": 1,
    "last_code": 200,
    "last_error": "",
    "advice": "",
    "created_at": _UPDATED_AT,
    "tried_at": _UPDATED_AT + 40,
    "next_try_at": None,
}
ELEMENT_TASK = ACCEPTED | {
    "task_status": "succeed",
    "updated_at": _UPDATED_AT,
    "task_status_msg": "",
    "final_unit_deduction": "0",
    "final_balance_deduction": _NO_BALANCE,
    "task_result": {
        "elements": [
            {
                "element_id": 1099511627776,
                "element_name": "Red bag",
                "element_description": "A red leather bag with a brass clasp",
                "reference_type": "image_refer",
                "element_image_list": {
                    "frontal_image": "http://127.0.0.1:8000/references/5feceb66?signature=1c4b",
                    "refer_images": [],
                },
                "element_video_list": {},
                "element_voice_info": {},
                "tag_list": [{"id": "o_104", "name": "Item", "description": "props and objects"}],
                "owned_by": "1",
                "status": "succeed",
            }
        ]
    },
}
DELETED_ELEMENT = {"task_id": TASK_ID, "task_status": "succeed"}
ACCOUNT = {
    "account": "acme",
    "concurrency": {"used": 2, "allowed": 20},
    "units": {"used": 1240, "reserved": 16, "limit": None},
    "keys": [{"prefix": "fh_Ab12Cd34", "kind": "bearer", "models": None, "created_at": _CREATED_AT}],
}
COSTS = {
    "code": 0,
    "msg": "SUCCEED",
    "resource_pack_subscribe_infos": [
        {
            "resource_pack_name": "acme",
            "resource_pack_id": "account-2",
            "resource_pack_type": "decreasing_total",
            "total_quantity": 10000,
            "remaining_quantity": 8760,
            "purchase_time": _CREATED_AT,
            "effective_time": _CREATED_AT,
            "invalid_time": 4102444800000,
            "status": "online",
        }
    ],
}
CHARGES = {
    "result": {
        "detail": [
            {
                "package_id": "account-2",
                "package_name": "acme",
                "product_type": "image",
                "task_id": TASK_ID,
                "api_key_name": "fh_Ab12Cd34",
                "product_function": "omni-image",
                "model_name": "kling-v3-omni",
                "resolution": "1k",
                "deduction_time": _UPDATED_AT,
                "unit_before_deduction": 8768,
                "deduction_amount": 8,
                "unit_after_deduction": 8760,
            }
        ],
        "count": 1,
    },
    "next_cursor": "",
    "has_more": False,
}
COMFYUI_UPLOAD = {
    "upload_url": f"http://127.0.0.1:8000/uploads/put/2/{TASK_ID}?expires=1795395600&signature=77ab",
    "download_url": f"http://127.0.0.1:8000/uploads/2/{TASK_ID}?expires=1795478400&signature=5d0e",
}
UPLOAD = COMFYUI_UPLOAD | {"expires_at": 1795395600000}
VERIFICATION = {
    "verdict": "made_here",
    "made_here": True,
    "altered": False,
    "evidence": "signature",
    "sentences": ["This image was made here."],
    "model": "kling-v3-omni",
    "task_id": TASK_ID,
    "image_index": 0,
}

TEST_CALLBACK = {"url": {"summary": "A receiver", "value": {"callback_url": "https://receiver.example/hooks"}}}
TESTED_CALLBACK = {
    "id": "019a3c5e-9f00-7c41-8a0e-0d8f1d6c2b34",
    "delivered": True,
    "status": 204,
    "seconds": 0.04,
    "reason": "",
    "advice": "",
}
