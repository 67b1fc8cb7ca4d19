"""kafkajs, run by kafkajs/produce.js. It consumes only in groups, which makes it a producer here."""

import os

from clients.base import ProgramClient


class KafkaJs(ProgramClient):
    name = "kafkajs"
    codecs = ("none", "gzip")  # the others are plugins that nobody maintains
    can_consume = False

    def __init__(self, bootstrap: str, directory: str):
        super().__init__(bootstrap)
        self.program = os.path.join(os.path.dirname(__file__), "../kafkajs/produce.js")
        os.environ["NODE_PATH"] = f"{directory}/node_modules"

    def command(self) -> list[str]:
        return ["node", self.program]

    def can_write(self, record) -> bool:
        # It takes a null header value for an empty one, and groups headers of one name together.
        names = [name for name, _ in record.headers]
        return len(set(names)) == len(names) and all(value is not None for _, value in record.headers)
