"""The protocols of the forecast's bars: what is trained on, what is forecast.

All lie on one border, before which is the training time: nothing at or after it is read for training.
"""

from dataclasses import dataclass

import rollups

FOLDER = rollups.ROOT / "benches" / "protocols"


@dataclass(frozen=True)
class Protocol:
    what: str
    train_to: str  # training data ends before it
    test_from: str | None  # no forecast step starts before it
    test_to: str | None = None
    train_servers: str | None = None  # files in benches/protocols
    test_servers: str | None = None

    def servers(self, side):
        name = {"train": self.train_servers, "test": self.test_servers}[side]
        return rollups.names(FOLDER / name) if name else None


BORDER = "2013-08-20T00:00:00Z"
LISTS = {"train_servers": "unseen-train.txt", "test_servers": "unseen-test.txt"}
PROTOCOLS = {
    "own": Protocol("own fleet, later: train before the border, forecast after it, same VMs", BORDER, BORDER),
    "unseen": Protocol("unseen servers: train on 100 VMs before the border, forecast the other 20 after it", BORDER, BORDER, **LISTS),
    "unseen-all": Protocol("unseen servers, all of the time: train on 100 VMs, forecast the other 20", "2013-09-01T00:00:00Z", None, **LISTS),
    "validation": Protocol(
        "validation: the last days before the border, for tuning", "2013-08-14T00:00:00Z", "2013-08-14T00:00:00Z", BORDER
    ),
}
