"""The acceptance tests of one webhook, over the composed system. Run by tests.compose.bring_up."""

from tests.acceptance.test_one_webhook import *  # noqa: F403 - the same tests, with this folder's `system`
