"""What a gateway's lease says of requests that are under way, by version: what autoscaling goes by."""

from __future__ import annotations

import json

import pytest

from router.epoch import NO_HEAD
from router.policy import Policy
from serving.endpoint import Endpoint
from serving.gateway.routing import Table
from serving.leases import GatewayLease, decode_gateway
from tests.serving.gateway.test_remembered import *  # noqa: F403
