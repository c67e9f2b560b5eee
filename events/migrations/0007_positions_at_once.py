"""Events get their position when they are inserted."""

from django.db import migrations, models
from django.db.models import F


def place_the_rest(apps, schema_editor):
    """Those that waited for one come next, in the order of their numbers."""
    events, ends = apps.get_model("events", "Event").objects, apps.get_model("events", "FeedEnd").objects
    waiting = events.filter(position=None).order_by("id").values_list("pk", flat=True)
    while pks := list(waiting[:1000]):
        end, _ = ends.get_or_create(pk=1)
        for position, pk in enumerate(pks, end.position + 1):
            events.filter(pk=pk).update(position=position)
        ends.filter(pk=1).update(position=F("position") + len(pks))


class Migration(migrations.Migration):
    dependencies = [
        ("events", "0006_outages"),
    ]

    operations = [
        migrations.RunPython(place_the_rest, migrations.RunPython.noop),
        migrations.RemoveIndex(model_name="event", name="event_without_position"),
        migrations.AlterField(
            model_name="event",
            name="position",
            field=models.BigIntegerField(editable=False, unique=True),
        ),
    ]
