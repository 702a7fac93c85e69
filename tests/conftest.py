import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kafka",
        default="embedded",
        metavar="embedded|apache|HOST:PORT",
        help="broker of the integration tests: embedded, an Apache Kafka started from beside the repository, or yours",
    )
