"""SideDrawer: the resources, and the event types and demo of the simulator."""

from __future__ import annotations

import pytest

from providers.contract.schemas import validate
from providers.sandbox.webhook_sender import WebhookSender
from providers.sidedrawer.event_types import EVENT_TYPES, KINDS
from providers.sidedrawer.resources import RESOURCES, kind_of, resource_of
from providers.sidedrawer.schemas import SideDrawerConfig
from providers.sidedrawer.simulated_webhook import RESOURCES as SIMULATED_RESOURCES
from providers.sidedrawer.simulator import SideDrawerSimulator
from providers.sidedrawer.tests.samples import (
    fill_in,
)


@pytest.mark.parametrize("resource", [fill_in(resource.template) for resource in RESOURCES])
def test_every_published_resource_is_accepted(resource: str) -> None:
    assert validate(SideDrawerConfig, {"resource": f"/{resource}/", "modification_type": "any"}).resource == resource


def test_the_simulator_has_the_same_thirteen_resources() -> None:
    assert len(RESOURCES) == 13
    assert [resource.template for resource in RESOURCES] == list(SIMULATED_RESOURCES)
    assert {resource.kind for resource in RESOURCES} == set(KINDS)
    for resource in RESOURCES:
        path = fill_in(resource.template)
        assert resource_of(path) == resource
        assert kind_of(path) == kind_of(f"{path}/one-more") == resource.kind


def test_there_are_thirty_event_types() -> None:
    assert len(EVENT_TYPES) == 30
    assert set(SideDrawerSimulator.event_types) == {item.name for item in EVENT_TYPES}


def test_the_demo_receives_every_event_type() -> None:
    simulator = SideDrawerSimulator("http://127.0.0.1:1", sender=WebhookSender({}))
    configs = [validate(SideDrawerConfig, config) for config in simulator.demo_configs().values()]
    simulator.close()
    templates = [resource.template for config in configs if (resource := resource_of(config.resource))]
    assert {kind for template in templates for kind in SIMULATED_RESOURCES[template]} == set(KINDS)
    assert {config.modification_type for config in configs} == {"any"}
