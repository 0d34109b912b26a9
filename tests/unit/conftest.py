"""Settings of hypothesis: without deadlines, so that a slow machine fails no test.

``pytest --hypothesis-profile=thorough`` tries more examples.
"""

from hypothesis import HealthCheck, settings

OPTIONS = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}

settings.register_profile("quick", max_examples=25, **OPTIONS)
settings.register_profile("thorough", max_examples=1000, **OPTIONS)
settings.load_profile("quick")
