import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('subscriptions', '0002_timeline'),
    ]

    operations = [
        migrations.AlterField(
            model_name='operation',
            name='account',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='providers.provideraccount'),
        ),
        migrations.AddIndex(
            model_name='operation',
            index=models.Index(fields=['subscription', '-uid'], name='operation_timeline'),
        ),
        migrations.AddIndex(
            model_name='operation',
            index=models.Index(fields=['account', '-uid'], name='operation_of_account'),
        ),
    ]
