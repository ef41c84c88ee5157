"""The gateway's settings over the stores that GATEWAY__REDIS_URL names."""

from gateway_project.settings import *  # noqa: F403
from gateway_project.settings import GATEWAY

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "relay.layers.redis.RedisSessionLayer",
        "CONFIG": {"urls": GATEWAY["REDIS_URL"].split(",")},
    }
}
