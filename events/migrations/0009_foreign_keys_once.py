"""The database makes sure of a request's subscription and of an event's request; the others follow from these."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('events', '0008_tries'),
        ('providers', '0005_retention'),
        ('subscriptions', '0012_allowed_networks'),
    ]

    operations = [
        migrations.AlterField(
            model_name='event',
            name='account',
            field=models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='events', to='providers.provideraccount'),
        ),
        migrations.AlterField(
            model_name='event',
            name='subscription',
            field=models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='events', to='subscriptions.subscription'),
        ),
        migrations.AlterField(
            model_name='webhookrequest',
            name='account',
            field=models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='webhook_requests', to='providers.provideraccount'),
        ),
    ]
